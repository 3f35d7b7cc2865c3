"""`shuttle demo`: one real build, shown from its caller's point of view."""
