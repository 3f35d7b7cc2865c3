"""bldst variable: values that a build leaves for the one that continues it."""

from bldst.grammar import BUILD, Command, Dialect, Noun, Option

_KEY = Option("--key", "variable_key")
# The Jenkins library leaves out a flag that is false, and a value that is empty.
_JENKINS = Dialect("--key", {"variable_value": "", "is_required_for_resume": False, "is_sensitive": False})


TABLE = (
    Noun(
        "variable",
        "Values for the build that continues this one",
        (
            Command(
                "set",
                "Set variables: KEY=VALUE …, or --key and --value",
                positionals="build pairs...",
                options=(
                    _KEY,
                    Option("--value", "variable_value", about="- reads it from stdin"),
                    Option("--variable-type --type", "variable_type"),
                    Option("--state --state-code", "set_at_state", "int"),
                    Option("--required-for-resume --required", "is_required_for_resume", "flag"),
                    Option(
                        "--sensitive --is-sensitive", "is_sensitive", "flag", about="encrypted, and masked in lists"
                    ),
                ),
                dialects=(_JENKINS,),
                run="variables:set_variables",
            ),
            Command(
                "get",
                "Print the value of a variable",
                positionals="build variable_key",
                options=(_KEY,),
                run="variables:get_variable",
            ),
            Command(
                "list",
                "List variables",
                positionals=BUILD,
                options=(Option("--required-for-resume --required", "required_for_resume", "flag"),),
                request="GET /builds/{build}/variables",
                output="rows",
                columns="variable_key variable_value set_at_state is_required_for_resume is_sensitive",
            ),
            Command(
                "delete",
                "Delete a variable",
                positionals="build variable_key",
                options=(_KEY,),
                request="DELETE /builds/{build}/variables/{variable_key}",
                done="the variable is deleted",
            ),
        ),
    ),
)
