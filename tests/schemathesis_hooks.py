"""A key stands for one request, and the tool gives the same one to many: each gets one of its own."""

import re
import uuid

import schemathesis

KEY = "Idempotency-Key"


@schemathesis.hook
def before_call(context, case, kwargs):
    if re.fullmatch(r"[!-~]{1,128}", str((case.headers or {}).get(KEY, ""))):
        case.headers[KEY] = str(uuid.uuid4())
