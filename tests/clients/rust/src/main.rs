//! Calls every operation of the API with a client that oas3-gen has generated into the module `gateway`.
//!
//! Arguments: the URL of the API, and the URL of a receiver of webhooks. The vehicle `truck-1` is turned off, answers
//! commands, and has a report and a debug blob. Prints the id of each operation that succeeded. Fails at the first that
//! did not.

mod gateway;

use anyhow::{Context, ensure};
use gateway::*;

const TRUCK: &str = "truck-1";
const SPARE: &str = "spare";
const ASK: &str = "HOW'S IT GOING?";

/// Calls an operation: its name, its request, and the response, whose content is the result.
macro_rules! call {
    ($client:ident.$operation:ident, $request:expr, $($response:tt)+) => {
        match $client.$operation($request).await? {
            ApiResponse::$($response)+ => {
                println!("{}", stringify!($operation));
                call!(@content $($response)+)
            }
            other => anyhow::bail!("{}: {other:?}", stringify!($operation)),
        }
    };
    (@content $response:ident($content:ident)) => { $content };
    (@content $response:ident(WithHeaders { $content:ident, .. })) => { $content };
    (@content $response:ident) => { () };
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().context("the URL of the API is missing")?;
    let receiver = arguments
        .next()
        .context("the URL of a receiver is missing")?;
    let client = VehicleGatewayClient::with_base_url(url)?;
    server(&client).await?;
    vehicles(&client).await?;
    commands(&client).await?;
    webhooks(&client, receiver).await?;
    keys(&client).await?;
    ends(&client).await
}

async fn server(client: &VehicleGatewayClient) -> anyhow::Result<()> {
    call!(client.get_server_info, GetServerInfoRequest {}, Ok(body));
    let health = call!(client.get_health, GetHealthRequest {}, Ok(body));
    ensure!(health.status == "up");
    let ready = call!(client.get_readiness, GetReadinessRequest {}, Ok(body));
    ensure!(ready.status == ReadinessStatus::Ready && ready.checks.redis.is_none());
    call!(
        client.get_balancer_readiness,
        GetBalancerReadinessRequest {},
        Ok(body)
    );
    let metrics = call!(client.get_metrics, GetMetricsRequest {}, Ok(body));
    ensure!(metrics.contains("vehicle_gateway_build_info"));
    call!(
        client.get_docs,
        GetDocsRequest {},
        Ok(WithHeaders { body, .. })
    );
    call!(
        client.get_openapi,
        GetOpenapiRequest {},
        Ok(WithHeaders { body, .. })
    );
    Ok(())
}

async fn vehicles(client: &VehicleGatewayClient) -> anyhow::Result<()> {
    let body = NewVehicle {
        device_id: SPARE.into(),
    };
    let vehicle = call!(
        client.create_vehicle,
        CreateVehicleRequest { body },
        Created(WithHeaders { body, .. })
    );
    let reason: Option<DisconnectReason> = vehicle.disconnect_reason;
    ensure!(reason.is_none());
    let query = ListVehiclesRequestQuery {
        limit: Some(2),
        ..Default::default()
    };
    let vehicles = call!(
        client.list_vehicles,
        ListVehiclesRequest { query },
        Ok(body)
    );
    ensure!(vehicles.items.len() == 2);
    let path = GetVehicleRequestPath {
        device_id: TRUCK.into(),
    };
    ensure!(call!(client.get_vehicle, GetVehicleRequest { path }, Ok(body)).online);
    let path = GetVehicleStatusRequestPath {
        device_id: TRUCK.into(),
    };
    ensure!(
        call!(
            client.get_vehicle_status,
            GetVehicleStatusRequest { path },
            Ok(body)
        )
        .online
    );
    let body = StatusUpdate {
        device_id: SPARE.into(),
        latitude: 1.5,
        longitude: 2.5,
        battery: 50,
        running: true,
    };
    let vehicle = call!(client.update_status, UpdateStatusRequest { body }, Ok(body));
    ensure!(vehicle.battery == Some(50));
    let path = ListReportsRequestPath {
        device_id: TRUCK.into(),
    };
    let query = ListReportsRequestQuery::default();
    ensure!(
        !call!(
            client.list_reports,
            ListReportsRequest { path, query },
            Ok(body)
        )
        .items
        .is_empty()
    );
    let path = ListDebugBlobsRequestPath {
        device_id: TRUCK.into(),
    };
    let query = ListDebugBlobsRequestQuery::default();
    let blobs = call!(
        client.list_debug_blobs,
        ListDebugBlobsRequest { path, query },
        Ok(body)
    );
    let path = GetDebugBlobRequestPath {
        device_id: TRUCK.into(),
        blob_id: blobs.items[0].blob_id,
    };
    let blob = call!(
        client.get_debug_blob,
        GetDebugBlobRequest { path },
        Ok(WithHeaders { body, .. })
    );
    ensure!(blob == b"hello");
    Ok(())
}

async fn commands(client: &VehicleGatewayClient) -> anyhow::Result<()> {
    let request = TurnOnVehicleRequest {
        path: TurnOnVehicleRequestPath {
            device_id: SPARE.into(),
        },
        header: TurnOnVehicleRequestHeader {
            idempotency_key: Some("one".into()),
        },
        body: Some(CommandOptions {
            queue: Some(true),
            ttl_seconds: Some(60),
            timeout_seconds: None,
        }),
    };
    let queued = call!(
        client.turn_on_vehicle,
        request,
        Accepted(WithHeaders { body, .. })
    );
    ensure!(queued.status == CommandResultStatus::Queued);
    let request = TurnOnVehicleRequest {
        path: TurnOnVehicleRequestPath {
            device_id: TRUCK.into(),
        },
        ..Default::default()
    };
    call!(
        client.turn_on_vehicle,
        request,
        Ok(WithHeaders { body, .. })
    );
    let request = TurnOffVehicleRequest {
        path: TurnOffVehicleRequestPath {
            device_id: TRUCK.into(),
        },
        body: Some(CommandOptions {
            timeout_seconds: Some(30),
            ..Default::default()
        }),
        ..Default::default()
    };
    let done = call!(
        client.turn_off_vehicle,
        request,
        Ok(WithHeaders { body, .. })
    );
    ensure!(done.status == CommandResultStatus::Done && done.success);
    let request = TurnVehicleRequest {
        path: TurnVehicleRequestPath {
            device_id: TRUCK.into(),
        },
        body: TurnOnOrOff {
            running: true,
            ..Default::default()
        },
        ..Default::default()
    };
    call!(client.turn_vehicle, request, Ok(WithHeaders { body, .. }));
    let request = SetFrequencyRequest {
        path: SetFrequencyRequestPath {
            device_id: TRUCK.into(),
        },
        body: Frequency {
            seconds: 0,
            ..Default::default()
        },
        ..Default::default()
    };
    call!(client.set_frequency, request, Ok(WithHeaders { body, .. }));
    let request = SendCommandRequest {
        path: SendCommandRequestPath {
            device_id: TRUCK.into(),
        },
        body: CommandMessage {
            message: ASK.into(),
            ..Default::default()
        },
        ..Default::default()
    };
    call!(client.send_command, request, Ok(WithHeaders { body, .. }));
    let path = FetchInfoRequestPath {
        device_id: TRUCK.into(),
    };
    let query = FetchInfoRequestQuery::default();
    let info = call!(
        client.fetch_info,
        FetchInfoRequest { path, query },
        Ok(body)
    );
    ensure!(info.status == Presence::Connected);
    let body = BroadcastMessage {
        message: ASK.into(),
        timeout_seconds: None,
    };
    let broadcast = call!(
        client.send_broadcast,
        SendBroadcastRequest { body },
        Ok(body)
    );
    ensure!(broadcast.done == 1);
    let path = ListCommandsRequestPath {
        device_id: TRUCK.into(),
    };
    let query = ListCommandsRequestQuery::default();
    let commands = call!(
        client.list_commands,
        ListCommandsRequest { path, query },
        Ok(body)
    );
    let newest = commands.items.first().context("no command is listed")?;
    ensure!(newest.origin == CommandOrigin::Broadcast);
    let path = GetCommandRequestPath {
        device_id: TRUCK.into(),
        command_id: newest.command_id,
    };
    let command = call!(client.get_command, GetCommandRequest { path }, Ok(body));
    ensure!(command.status == CommandStatus::Done);
    Ok(())
}

async fn webhooks(client: &VehicleGatewayClient, receiver: String) -> anyhow::Result<()> {
    let body = NewWebhook {
        url: receiver,
        events: Some(vec![EventKind::Online]),
        device_ids: Some(vec![TRUCK.into()]),
        ..Default::default()
    };
    let made = call!(
        client.create_webhook,
        CreateWebhookRequest { body },
        Created(WithHeaders { body, .. })
    );
    let webhook_id = made.id;
    let webhooks = call!(client.list_webhooks, ListWebhooksRequest {}, Ok(body));
    ensure!(webhooks.items[0].events == [EventKind::Online]);
    let path = UpdateWebhookRequestPath { webhook_id };
    let body = WebhookUpdate {
        enabled: Some(false),
        ..Default::default()
    };
    let webhook = call!(
        client.update_webhook,
        UpdateWebhookRequest { path, body },
        Ok(body)
    );
    ensure!(webhook.disabled_reason == Some(DisabledReason::Operator));
    let path = UpdateWebhookRequestPath { webhook_id };
    let body = WebhookUpdate {
        enabled: Some(true),
        ..Default::default()
    };
    call!(
        client.update_webhook,
        UpdateWebhookRequest { path, body },
        Ok(body)
    );
    let path = GetWebhookRequestPath { webhook_id };
    ensure!(call!(client.get_webhook, GetWebhookRequest { path }, Ok(body)).enabled);
    let path = RotateWebhookSecretRequestPath { webhook_id };
    let rotated = call!(
        client.rotate_webhook_secret,
        RotateWebhookSecretRequest { path },
        Ok(body)
    );
    ensure!(rotated.secret != made.secret);

    let path = TestWebhookRequestPath { webhook_id };
    let test = call!(
        client.test_webhook,
        TestWebhookRequest { path },
        Accepted(WithHeaders { body, .. })
    );
    let path = ListWebhookMessagesRequestPath { webhook_id };
    let status = Some(WebhookMessageStatus::Failed);
    let query = ListWebhookMessagesRequestQuery {
        status,
        ..Default::default()
    };
    call!(
        client.list_webhook_messages,
        ListWebhookMessagesRequest { path, query },
        Ok(body)
    );
    let path = GetWebhookMessageRequestPath {
        webhook_id,
        message_id: test.id,
    };
    call!(
        client.get_webhook_message,
        GetWebhookMessageRequest { path },
        Ok(body)
    );
    let path = RetryWebhookMessageRequestPath {
        webhook_id,
        message_id: test.id,
    };
    call!(
        client.retry_webhook_message,
        RetryWebhookMessageRequest { path },
        Accepted(WithHeaders { body, .. })
    );
    let path = RetryFailedWebhookMessagesRequestPath { webhook_id };
    let query = RetryFailedWebhookMessagesRequestQuery {
        since: Some(made.created_at),
    };
    let request = RetryFailedWebhookMessagesRequest { path, query };
    let retried = call!(client.retry_failed_webhook_messages, request, Ok(body));
    ensure!(retried.retried == 0);
    let path = DeleteWebhookRequestPath { webhook_id };
    call!(
        client.delete_webhook,
        DeleteWebhookRequest { path },
        NoContent
    );
    Ok(())
}

async fn keys(client: &VehicleGatewayClient) -> anyhow::Result<()> {
    let own = call!(client.get_own_key, GetOwnKeyRequest {}, Ok(body));
    ensure!(own.scopes.contains(&Scope::Keys));
    let body = NewKeyRequest {
        name: "dispatch".into(),
        scopes: vec![Scope::Read],
        expires_at: None,
    };
    let made = call!(
        client.create_key,
        CreateKeyRequest { body },
        Created(WithHeaders { body, .. })
    );
    let keys = call!(client.list_keys, ListKeysRequest {}, Ok(body));
    ensure!(keys.items[0].scopes == [Scope::Read]);
    let path = GetKeyRequestPath {
        key_id: made.id.clone(),
    };
    ensure!(
        call!(client.get_key, GetKeyRequest { path }, Ok(body))
            .created_by
            .is_none()
    );
    let path = RotateKeyRequestPath {
        key_id: made.id.clone(),
    };
    let body = Some(RotationRequest {
        overlap: Some("1h".into()),
    });
    let rotated = call!(client.rotate_key, RotateKeyRequest { path, body }, Ok(body));
    ensure!(rotated.key != made.key);
    let path = RevokeKeyRequestPath { key_id: made.id };
    call!(client.revoke_key, RevokeKeyRequest { path }, NoContent);
    Ok(())
}

/// Calls what ends a session or a vehicle, and reads a problem.
async fn ends(client: &VehicleGatewayClient) -> anyhow::Result<()> {
    let request = DisconnectVehicleRequest {
        path: DisconnectVehicleRequestPath {
            device_id: TRUCK.into(),
        },
        ..Default::default()
    };
    call!(
        client.disconnect_vehicle,
        request,
        Ok(WithHeaders { body, .. })
    );
    let path = DeleteVehicleRequestPath {
        device_id: SPARE.into(),
    };
    call!(
        client.delete_vehicle,
        DeleteVehicleRequest { path },
        NoContent
    );
    let query = ListAuditRecordsRequestQuery {
        device_id: Some(SPARE.into()),
        ..Default::default()
    };
    let records = call!(
        client.list_audit_records,
        ListAuditRecordsRequest { query },
        Ok(body)
    );
    ensure!(records.items[0].status.is_some());
    let path = GetVehicleRequestPath {
        device_id: SPARE.into(),
    };
    let ApiResponse::NotFound(problem) = client.get_vehicle(GetVehicleRequest { path }).await?
    else {
        anyhow::bail!("a deleted vehicle is known");
    };
    ensure!(problem.body.r#type == ProblemType::UrnVehicleGatewayProblemUnknownVehicle);
    Ok(())
}
