"""What every program here needs: the stage it plays on, and checks with a line each."""

import json
import os
import traceback

STAGE = json.loads(os.environ["CLIENTS_STAGE"])
PATIENCE = 15

_count = 0
_names = 0


def address(gateway):
    host, port = STAGE["gateways"][gateway].rsplit(":", 1)
    return host, int(port)


def token(user):
    return STAGE["tokens"][user]


def unique(base):
    """A name that no other check uses."""
    global _names
    _names += 1
    return f"{base}-{os.getpid()}-{_names}"


def report(name, error=None):
    global _count
    _count += 1
    if error is None:
        print(f"ok {name}", flush=True)
    else:
        lines = traceback.format_exception(error)
        print(f"FAILED {name}: {' | '.join(line.strip() for line in lines[-3:])}".replace("\n", " | "), flush=True)


def skip(name, why):
    global _count
    _count += 1
    print(f"skipped {name}: {why}", flush=True)


def check(name, body):
    try:
        body()
    except Exception as error:
        report(name, error)
    else:
        report(name)


def done():
    print(f"done {_count}", flush=True)
