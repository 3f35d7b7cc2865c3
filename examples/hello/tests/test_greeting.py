"""The greetings, and the errors for unknown languages."""

import unittest

from hello.greeting import WORDS, greet


class Greeting(unittest.TestCase):
    """One greeting for one name."""

    def test_every_language(self):
        for language, word in WORDS.items():
            self.assertEqual(greet("Ada", language), f"{word}, Ada!")

    def test_stranger(self):
        self.assertEqual(greet("  "), "Hello, stranger!")

    def test_unknown_language(self):
        with self.assertRaises(LookupError):
            greet("Ada", "tlh")

    def test_a_whole_stadium(self):
        greetings = {greet(f"guest {seat}", "it") for seat in range(300_000)}
        self.assertEqual(len(greetings), 300_000)
