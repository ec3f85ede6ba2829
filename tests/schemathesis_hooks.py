"""What the document cannot say of requests."""

import re
import uuid

import schemathesis
from hypothesis import strategies

KEY = "Idempotency-Key"

# A webhook goes to public addresses alone: these names have none at all.
schemathesis.openapi.format(
    "uri", strategies.from_regex(r"https://[a-z][a-z0-9]{0,20}\.example/[a-z0-9/?=&]{0,20}", fullmatch=True)
)


@schemathesis.hook
def before_call(context, case, kwargs):
    """Changes what would be refused for a reason that the document cannot say."""
    # A key of the API may not expire in the past, and the tool knows no present. 400 years later has the same days.
    expires = case.body.get("expiresAt") if case.path == "/keys" and isinstance(case.body, dict) else None
    if isinstance(expires, str) and re.fullmatch(r"\d{4}-.*", expires):
        case.body["expiresAt"] = f"{int(expires[:4]) % 400 + 2400}{expires[4:]}"
    # A value stands for one request, and the tool gives the same one to many: each gets one of its own.
    if re.fullmatch(r"[!-~]{1,128}", str((case.headers or {}).get(KEY, ""))):
        case.headers[KEY] = str(uuid.uuid4())
