"""The program that reads untrusted archives: it runs in its own process, with limits, and needs no other packages."""
