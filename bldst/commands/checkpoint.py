"""bldst checkpoint: a state with the artifacts and variables that a build needs to continue from it."""

from bldst.grammar import Command, Noun, Option

TABLE = (
    Noun(
        "checkpoint",
        "Record a state with what is needed to continue from it",
        (
            Command(
                "checkpoint",
                "Record artifacts, variables and then the state that needs them",
                positionals="build name",
                options=(
                    Option("--state --state-code", "state_code", "int"),
                    Option("--artifact", "artifacts", repeated=True, about="a URL, or a file of this machine"),
                    Option("--var", "variables", repeated=True, about="KEY=VALUE"),
                    Option("--message", "message"),
                    Option("--status", "status"),
                ),
                required="state_code",
                run="checkpoint:record_checkpoint",
            ),
        ),
    ),
)
