"""Permissions with their names in `X-Required-Permission`, and the sets of permissions for users."""

ADMINISTER = "hudson.model.Hudson.Administer"
OVERALL_READ = "hudson.model.Hudson.Read"
READ = "hudson.model.Item.Read"
CREATE = "hudson.model.Item.Create"
CONFIGURE = "hudson.model.Item.Configure"
BUILD = "hudson.model.Item.Build"
CANCEL = "hudson.model.Item.Cancel"
DELETE = "hudson.model.Item.Delete"
UPDATE_BUILD = "hudson.model.Run.Update"
DELETE_BUILD = "hudson.model.Run.Delete"

# Every permission in the table of the project's README; Run/Update is optional there.
SHUTTLE_USER = frozenset({OVERALL_READ, READ, CREATE, CONFIGURE, BUILD, CANCEL, DELETE, UPDATE_BUILD})
READER = frozenset({OVERALL_READ, READ})
ADMINISTRATOR = SHUTTLE_USER | {ADMINISTER, DELETE_BUILD}
