"""The GraphQL side of Parley: types, queries, mutations, and how they reach HTTP. No rules and no writes of its own."""
