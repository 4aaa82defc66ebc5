"""Documents that clients name by an id instead of sending them: those of a manifest, and those that came before."""
