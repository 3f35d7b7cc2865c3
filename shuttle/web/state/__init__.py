"""The API of `bldst` below `/-/state`: the record of a build, and what builds refer to.

`routes` is its table of routes. `access` checks the tokens, `bodies` reads requests, `pages` reads the query of a list,
`answers` has the successful answers and `details` the errors.
"""

from shuttle.lifecycle.state_token import STATE_PATH

PREFIX = STATE_PATH
