"""A server that speaks the protocol of S3, with one bucket and one pair of keys, which it checks.

Prints its port and the keys, then answers commands, one a line, until its standard input ends.
"""

import json
import logging
import os
import sys

from moto import settings
from moto.core import DEFAULT_ACCOUNT_ID
from moto.iam.models import iam_backends
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

NAME = "blobs"
USER = "journeyman"
ALLOWED = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}

logging.getLogger("werkzeug").setLevel(logging.ERROR)
# Signatures are checked from the first request on.
settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
iam = iam_backends[DEFAULT_ACCOUNT_ID]["aws"]
iam.create_user(region_name="us-east-1", user_name=USER)
iam.put_user_policy(USER, "all", json.dumps({"Version": "2012-10-17", "Statement": [ALLOWED]}))
key = iam.create_access_key(USER)
s3 = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
s3.create_bucket(NAME, "us-east-1")
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], key.access_key_id, key.secret_access_key, flush=True)
for line in sys.stdin:
    bucket = s3.buckets[NAME]
    answers = {"keys": lambda: list(bucket.keys), "uploads": lambda: list(bucket.multiparts)}
    print(json.dumps(answers[line.strip()]()), flush=True)
os._exit(0)
