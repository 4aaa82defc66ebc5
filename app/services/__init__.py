"""The rules of the chat, one file per noun. A function that must be allowed starts with an `access_*` call."""
