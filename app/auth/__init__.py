"""Who is asking: access tokens of an OpenID Connect issuer of Auth0's shape, or of the local one."""

from app.auth.authenticator import Authenticator, create_authenticator
from app.auth.claims import Claims, Profile
from app.auth.local import LocalIssuer

__all__ = ["Authenticator", "Claims", "LocalIssuer", "Profile", "create_authenticator"]
