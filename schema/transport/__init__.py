"""How clients reach the schema."""
