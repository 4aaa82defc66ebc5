"""The event log: every write appends what it did, in its own transaction. Delivery reads from here."""
