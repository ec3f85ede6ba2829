"""Calls every operation of the API with a client that openapi-python-client has generated.

Arguments: the URL of the API, and the URL of a receiver of webhooks. The package `vehicle_gateway_client` can be imported.
The vehicle `truck-1` is turned off, answers commands, and has a report and a debug blob.

Prints the id of each operation that returned what its signature says. Fails at the first that did not.
"""

import importlib
import pkgutil
import sys
import typing

from vehicle_gateway_client import Client, api, models

TRUCK = "truck-1"
SPARE = "spare"

client = Client(base_url=sys.argv[1], raise_on_unexpected_status=True)
operations = {}
for tag in pkgutil.iter_modules(api.__path__):
    package = importlib.import_module(f"{api.__name__}.{tag.name}")
    for module in pkgutil.iter_modules(package.__path__):
        assert module.name not in operations, f"{module.name} has two tags"
        operations[module.name] = importlib.import_module(f"{package.__name__}.{module.name}")
called = set()


def call(operation, *path, **arguments):
    """Returns the result of an operation, whose type must be one of those that are no problem."""
    function = operations[operation].sync_detailed
    response = function(*path, client=client, **arguments)
    assert 200 <= response.status_code < 300, f"{operation}: {response}"
    (declared,) = typing.get_args(typing.get_type_hints(function)["return"])
    # `Any` stands for a response without content.
    results = tuple(kind for kind in typing.get_args(declared) if kind not in (models.Problem, typing.Any))
    if response.status_code == 204:
        assert response.parsed is None, f"{operation}: {type(response.parsed)}"
    else:
        assert isinstance(response.parsed, results or declared), f"{operation}: {type(response.parsed)} is not {results}"
    if operation not in called:
        print(operation)
    called.add(operation)
    return response.parsed


# The server.
assert call("get_server_info").instance.name
assert call("get_health").status is models.HealthStatus.UP
readiness = call("get_readiness")
assert readiness.status is models.ReadinessStatus.READY
assert readiness.checks.store is models.CheckStatus.UP and readiness.checks.redis is None
call("get_balancer_readiness")
assert "vehicle_gateway_build_info" in call("get_metrics")
assert call("get_docs").startswith("<!")
assert call("get_openapi").additional_properties["openapi"].startswith("3.1")

# Vehicles and their history.
assert call("create_vehicle", body=models.NewVehicle(SPARE)).disconnect_reason is None
assert [vehicle.device_id for vehicle in call("list_vehicles", limit=2).items] == [SPARE, TRUCK]
assert call("get_vehicle", TRUCK).online
assert call("get_vehicle_status", TRUCK).online
update = models.StatusUpdate(battery=50, device_id=SPARE, latitude=1.5, longitude=2.5, running=True)
assert call("update_status", body=update).battery == 50
assert call("list_reports", TRUCK).items
(blob,) = call("list_debug_blobs", TRUCK).items
assert call("get_debug_blob", TRUCK, blob.blob_id).payload.read() == b"hello"

# Commands.
done, queued = models.CommandResultStatus.DONE, models.CommandResultStatus.QUEUED
assert call("turn_on_vehicle", TRUCK, body=models.CommandOptions(timeout_seconds=30)).status is done
assert call("turn_on_vehicle", SPARE, body=models.CommandOptions(queue=True, ttl_seconds=60)).status is queued
assert call("turn_off_vehicle", TRUCK, idempotency_key="one").status is done
assert call("turn_vehicle", TRUCK, body=models.TurnOnOrOff(running=True, queue=False)).status is done
assert call("set_frequency", TRUCK, body=models.Frequency(seconds=0)).status is done
assert call("send_command", TRUCK, body=models.CommandMessage("HOW'S IT GOING?")).status is done
assert call("fetch_info", TRUCK).status is models.Presence.CONNECTED
assert call("send_broadcast", body=models.BroadcastMessage("HOW'S IT GOING?")).done == 1
newest = call("list_commands", TRUCK).items[0]
assert newest.origin is models.CommandOrigin.BROADCAST
assert call("get_command", TRUCK, newest.command_id).status is models.CommandStatus.DONE

# Webhooks.
new = models.NewWebhook(url=sys.argv[2], events=[models.EventKind.ONLINE], device_ids=[TRUCK])
made = call("create_webhook", body=new)
assert made.secret and made.disabled_reason is None
assert call("list_webhooks").items[0].events == [models.EventKind.ONLINE]
disabled = call("update_webhook", made.id, body=models.WebhookUpdate(enabled=False, device_ids=None))
assert disabled.disabled_reason is models.DisabledReason.OPERATOR and disabled.device_ids is None
call("update_webhook", made.id, body=models.WebhookUpdate(enabled=True))
assert call("get_webhook", made.id).enabled
assert call("rotate_webhook_secret", made.id).secret != made.secret
message = call("test_webhook", made.id)
for status in models.WebhookMessageStatus:
    call("list_webhook_messages", made.id, status=status)
assert call("get_webhook_message", made.id, message.id).body.additional_properties["type"] == message.type_
call("retry_webhook_message", made.id, message.id)
assert call("retry_failed_webhook_messages", made.id, since=made.created_at).retried == 0
call("delete_webhook", made.id)

# Keys.
assert models.Scope.KEYS in call("get_own_key").scopes
made = call("create_key", body=models.NewKeyRequest(name="dispatch", scopes=[models.Scope.READ]))
assert made.key and made.expires_at is None
assert call("list_keys").items[0].scopes == [models.Scope.READ]
assert call("get_key", made.id).created_by is None
assert call("rotate_key", made.id, body=models.RotationRequest(overlap="1h")).key != made.key
call("revoke_key", made.id)

# What ends something.
assert call("disconnect_vehicle", TRUCK, body=models.CommandOptions()).status is done
call("delete_vehicle", SPARE)

# Who did all that.
assert call("list_audit_records", device_id=SPARE).items[0].status

# A problem has a type of its own as well.
unknown = operations["get_vehicle"].sync(SPARE, client=client)
assert isinstance(unknown, models.Problem), unknown
assert unknown.type_ is models.ProblemType.URNVEHICLE_GATEWAYPROBLEMUNKNOWN_VEHICLE

assert called == set(operations), f"not called: {set(operations) - called}"
