"""bldst config and auth: the settings of this machine."""

from bldst.grammar import KEY, Command, Noun, Option

_SET_KEY = Command("set-key", "Store the key; - reads it from stdin", positionals=KEY, run="stored:set_key")

TABLE = (
    Noun(
        "config",
        "The settings in ~/.bldst.yaml",
        (
            Command("set-url", "Store the address of the service", positionals="url", run="stored:set_url"),
            Command("get-url", "Print the address of the service", run="stored:get_url"),
            Command("show", "Show the settings, without their secrets", run="stored:show"),
            Command("reset", "Remove all settings", run="stored:reset"),
            _SET_KEY,
        ),
    ),
    Noun(
        "auth",
        "Key and token",
        (
            _SET_KEY,
            Command("clear-key", "Remove the stored key", run="stored:clear_key"),
            Command(
                "login",
                "Get a token for a user name and password, and store it",
                options=(
                    Option("--username", "username"),
                    Option("--password", "password", about="- reads it from stdin"),
                ),
                run="stored:login",
            ),
            Command("logout", "Remove the stored token", run="stored:logout"),
        ),
    ),
)
