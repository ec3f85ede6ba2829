// Calls every operation of the API with openapi-fetch and the types of openapi-typescript (`api.ts`).
//
// Arguments: the URL of the API, and the URL of a receiver of webhooks. The vehicle `truck-1` is turned off, answers commands,
// and has a report and a debug blob. Prints the id of each operation that succeeded. Fails at the first that did not.

import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { argv: [string, string, string, string] };

type Schemas = components["schemas"];

const [, , url, receiver] = process.argv;
const client = createClient<paths>({ baseUrl: url });
const called: { method: string; path: string }[] = [];
client.use({
  onResponse({ request, schemaPath }) {
    called.push({ method: request.method.toLowerCase(), path: schemaPath });
  },
});

function check(holds: boolean, what: unknown): asserts holds {
  if (!holds) {
    throw new Error(JSON.stringify(what));
  }
}

/** The body of a successful response. */
async function ok<T>(call: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  const { data, error, response } = await call;
  check(response.ok, [response.url, response.status, error]);
  return data as T;
}

const truck = { params: { path: { deviceId: "truck-1" } } };
const spare = { params: { path: { deviceId: "spare" } } };

// The server.
const info = await ok(client.GET("/"));
check(typeof info !== "string" && info.instance.name !== "", info);
check((await ok(client.GET("/health"))).status === "up", "health");
const readiness = await ok(client.GET("/ready"));
const redis: Schemas["CheckStatus"] | null = readiness.checks.redis;
check(readiness.status === "ready" && redis === null, readiness);
await ok(client.GET("/ready/balancer"));
const metrics: string = await ok(client.GET("/metrics", { parseAs: "text" }));
check(metrics.includes("vehicle_gateway_build_info"), metrics);
await ok(client.GET("/docs", { parseAs: "text" }));
const served = await ok(client.GET("/openapi.json"));

// Vehicles and their history.
const created: Schemas["Vehicle"] = await ok(client.POST("/vehicles", { body: { deviceId: "spare" } }));
const reason: Schemas["DisconnectReason"] | null = created.disconnectReason;
check(reason === null, created);
const vehicles = await ok(client.GET("/vehicles", { params: { query: { limit: 2 } } }));
check(vehicles.items.map((vehicle) => vehicle.deviceId).join() === "spare,truck-1", vehicles);
check((await ok(client.GET("/vehicles/{deviceId}", truck))).online, "online");
check((await ok(client.GET("/vehicles/{deviceId}/status", truck))).online, "online");
const update = { deviceId: "spare", latitude: 1.5, longitude: 2.5, battery: 50, running: true };
check((await ok(client.POST("/service/status-update", { body: update }))).battery === 50, update);
check((await ok(client.GET("/vehicles/{deviceId}/reports", truck))).items.length > 0, "reports");
const [blob] = (await ok(client.GET("/vehicles/{deviceId}/debug-blobs", truck))).items;
check(blob !== undefined, "blob");
const blobPath = { deviceId: "truck-1", blobId: blob.blobId };
const bytes = await ok(
  client.GET("/vehicles/{deviceId}/debug-blobs/{blobId}", { params: { path: blobPath }, parseAs: "text" }),
);
check(bytes === "hello", bytes);

// Commands.
function is(expected: Schemas["CommandResultStatus"], result: Schemas["CommandResult"]) {
  check(result.status === expected, result);
}
is("done", await ok(client.POST("/service/{deviceId}/turnOn", { ...truck, body: { timeoutSeconds: 30, queue: false } })));
is("queued", await ok(client.POST("/service/{deviceId}/turnOn", { ...spare, body: { queue: true, ttlSeconds: 60 } })));
is("done", await ok(client.POST("/service/{deviceId}/turnOff", truck)));
is("done", await ok(client.POST("/service/{deviceId}/turnOnOrOff", { ...truck, body: { running: true, queue: false } })));
is("done", await ok(client.POST("/service/{deviceId}/frequency", { ...truck, body: { seconds: 0, queue: false } })));
const message = "HOW'S IT GOING?";
is("done", await ok(client.POST("/service/{deviceId}/command", { ...truck, body: { message, queue: false } })));
const presence: Schemas["Presence"] = (await ok(client.GET("/service/{deviceId}/fetch-info", truck))).status;
check(presence === "CONNECTED", presence);
check((await ok(client.POST("/service/broadcast", { body: { message } }))).done === 1, "broadcast");
const commands: Schemas["Command"][] = (await ok(client.GET("/vehicles/{deviceId}/commands", truck))).items;
const newest = commands[0];
check(newest?.origin === "broadcast", commands);
const commandPath = { deviceId: "truck-1", commandId: newest.commandId };
const command = await ok(client.GET("/vehicles/{deviceId}/commands/{commandId}", { params: { path: commandPath } }));
check(command.status === "done", command);

// Webhooks.
const events: Schemas["EventKind"][] = ["online"];
const made = await ok(
  client.POST("/webhooks", { body: { url: receiver, events, deviceIds: ["truck-1"], ordered: true, coalesce: false } }),
);
const hook = { params: { path: { webhookId: made.id } } };
check((await ok(client.GET("/webhooks"))).items[0]?.events[0] === "online", made);
const off = await ok(client.PATCH("/webhooks/{webhookId}", { ...hook, body: { enabled: false, deviceIds: null } }));
check(off.disabledReason === "operator" && off.deviceIds === null, off);
await ok(client.PATCH("/webhooks/{webhookId}", { ...hook, body: { enabled: true } }));
check((await ok(client.GET("/webhooks/{webhookId}", hook))).enabled, "enabled");
check((await ok(client.POST("/webhooks/{webhookId}/rotate-secret", hook))).secret !== made.secret, "secret");
const test = await ok(client.POST("/webhooks/{webhookId}/test", hook));
const messagePath = { params: { path: { webhookId: made.id, messageId: test.id } } };
const query: { status: Schemas["WebhookMessageStatus"] } = { status: "failed" };
await ok(client.GET("/webhooks/{webhookId}/messages", { params: { ...hook.params, query } }));
await ok(client.GET("/webhooks/{webhookId}/messages/{messageId}", messagePath));
await ok(client.POST("/webhooks/{webhookId}/messages/{messageId}/retry", messagePath));
const since = { params: { ...hook.params, query: { since: made.createdAt } } };
check((await ok(client.POST("/webhooks/{webhookId}/retry-failed", since))).retried === 0, "retried");
await ok(client.DELETE("/webhooks/{webhookId}", hook));

// Keys.
const scopes: Schemas["Scope"][] = ["read"];
check((await ok(client.GET("/keys/self"))).scopes.includes("keys"), "own key");
const key = await ok(client.POST("/keys", { body: { name: "dispatch", scopes } }));
const keyPath = { params: { path: { keyId: key.id } } };
check((await ok(client.GET("/keys"))).items[0]?.scopes[0] === "read", key);
check((await ok(client.GET("/keys/{keyId}", keyPath))).createdBy === null, key);
const rotated = await ok(client.POST("/keys/{keyId}/rotate", { ...keyPath, body: { overlap: "1h" } }));
check(rotated.key !== key.key, "rotated");
await ok(client.DELETE("/keys/{keyId}", keyPath));

// What ends something.
is("done", await ok(client.POST("/service/{deviceId}/disconnect", truck)));
await ok(client.DELETE("/vehicles/{deviceId}", spare));

// Who did all that.
const audited = await ok(client.GET("/audit", { params: { query: { deviceId: "spare" } } }));
check(audited.items[0]?.status !== null, audited);

// A problem has a type of its own as well.
const { error } = await client.GET("/vehicles/{deviceId}", spare);
check(error?.type === "urn:vehicle-gateway:problem:unknown-vehicle", error);

const document = served as unknown as { paths: Record<string, Record<string, { operationId: string }>> };
const ids = called.map(({ method, path }) => document.paths[path]?.[method]?.operationId);
for (const id of new Set(ids)) {
  console.log(id);
}
