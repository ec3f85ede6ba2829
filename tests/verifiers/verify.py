"""Says for each message on standard input, a JSON object a line, whether the public library accepts it."""

import json
import sys

from standardwebhooks import Webhook, WebhookVerificationError

for line in sys.stdin:
    question = json.loads(line)
    try:
        Webhook(question["secret"]).verify(question["body"], question["headers"])
        print("accepted")
    except WebhookVerificationError:
        print("refused")
