"""Running operations, and subscriptions once for everybody who asked for the same."""
