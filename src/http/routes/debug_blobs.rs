//! `/vehicles/{deviceId}/debug-blobs`: the crash dumps that a vehicle has sent.

use std::sync::Arc;

use aide::{
    OperationOutput,
    axum::{ApiRouter, routing::get_with},
    generate::GenContext,
    openapi::{MediaType, Operation, ReferenceOr, Response as ResponseDoc},
};
use axum::{
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use schemars::{JsonSchema, Schema, json_schema};
use serde::Serialize;
use serde_json::{Value, json};
use vehicle_gateway_macros::operation;

use crate::{
    api_model::{EXAMPLE_DEVICE_ID, Example, Rfc3339, device_id_field},
    domain::{DebugBlobInfo, DeviceId},
    http::{
        extract::{Path, PathParameter, Query},
        failure_log,
        json::Json,
        media_type::OCTET_STREAM,
        openapi::{header as header_doc, media, response},
        paging::{HistoryQuery, Page},
        problem::{Problem, ProblemKind},
        state::ApiState,
    },
    vehicles::{Position, VehicleError},
};

/// The smallest piece of a blob that is read from the database, in bytes.
const LEAST_PIECE: u64 = 64 << 10;
/// The most pieces of a blob: the database reads all of it for each.
const MOST_PIECES: u64 = 16;

pub(super) fn routes() -> ApiRouter<Arc<ApiState>> {
    ApiRouter::new()
        .api_route(
            "/vehicles/{deviceId}/debug-blobs",
            get_with(list_debug_blobs, list_debug_blobs_operation),
        )
        .api_route(
            "/vehicles/{deviceId}/debug-blobs/{blobId}",
            get_with(get_debug_blob, get_debug_blob_operation),
        )
}

/// List a vehicle's debug blobs
///
/// Returns the crash dumps that the vehicle has sent, without their content, newest first, in pages.
#[operation(tag = DebugBlobs, scope = Read, problems = [UnreadResponses])]
async fn list_debug_blobs(
    State(state): State<Arc<ApiState>>,
    Path(device_id): Path<DeviceId>,
    Query(query): Query<HistoryQuery<Position>>,
) -> Result<Json<Page<DebugBlobDto>>, Problem> {
    let blobs = state.vehicles.debug_blobs(&device_id, query.page()).await?;
    Ok(Json(Page::new(
        blobs,
        query.limit,
        |last| Position {
            received_at: last.received_at,
            id: last.id,
        },
        DebugBlobDto::from,
    )))
}

/// Download a debug blob
///
/// Returns the content of a crash dump, exactly as the vehicle sent it.
#[operation(tag = DebugBlobs, scope = Read, problems = [UnreadResponses])]
async fn get_debug_blob(
    State(state): State<Arc<ApiState>>,
    Path((device_id, BlobId(blob_id))): Path<(DeviceId, BlobId)>,
) -> Result<BlobContent, Problem> {
    let reservation = state.unread.reserve(LEAST_PIECE)?;
    let first = state
        .vehicles
        .debug_blob_piece(&device_id, blob_id, 0, LEAST_PIECE)
        .await?;
    let download = Download {
        state,
        device_id,
        blob_id,
        size: first.size,
        read: first.bytes.len() as u64,
        first: Some(reservation.hold(first.bytes)),
    };
    Ok(BlobContent(download))
}

/// A blob on its way to a client. What the client does not read yet stays in the database, but for a piece.
struct Download {
    state: Arc<ApiState>,
    device_id: DeviceId,
    blob_id: i64,
    size: u64,
    /// How many bytes were read from the database.
    read: u64,
    first: Option<Bytes>,
}

/// Why a download ended early.
#[derive(Debug, thiserror::Error)]
enum DownloadError {
    #[error(transparent)]
    Vehicle(#[from] VehicleError),
    #[error("the database or the memory for unread responses was busy for too long")]
    Busy,
}

impl Download {
    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, DownloadError> {
        if let Some(first) = self.first.take().filter(|first| !first.is_empty()) {
            return Ok(Some(first));
        }
        if self.read >= self.size {
            return Ok(None);
        }
        let limit = self.state.options.request_timeout;
        let piece = tokio::time::timeout(limit, self.read_piece()).await;
        let piece = piece
            .unwrap_or(Err(DownloadError::Busy))
            .inspect_err(|error| {
                failure_log::download_ended_early(&self.device_id, self.blob_id, error);
            })?;
        self.read += piece.len() as u64;
        Ok(Some(piece))
    }

    async fn read_piece(&self) -> Result<Bytes, DownloadError> {
        let length = (self.size / MOST_PIECES).max(LEAST_PIECE);
        let reservation = self.state.unread.wait(length).await;
        let reservation = reservation.ok_or(DownloadError::Busy)?;
        let piece =
            self.state
                .vehicles
                .debug_blob_piece(&self.device_id, self.blob_id, self.read, length);
        let bytes = piece.await?.bytes;
        if bytes.is_empty() {
            return Err(VehicleError::UnknownDebugBlob.into());
        }
        Ok(reservation.hold(bytes))
    }
}

/// The id of a debug blob.
struct BlobId(i64);

impl PathParameter for BlobId {
    const NAME: &'static str = "blobId";
    const DESCRIPTION: &'static str = "The debug blob's id, from the list of debug blobs.";
    const UNKNOWN: &'static [ProblemKind] = &[ProblemKind::UnknownDebugBlob];

    fn schema() -> Schema {
        json_schema!({ "type": "integer", "format": "int64", "minimum": 1, "maximum": i64::MAX, "examples": [7] })
    }

    /// Rejects signs and leading zeros, so that every blob has one path.
    fn parse(text: &str) -> Result<Self, String> {
        let canonical = text.starts_with(|first: char| ('1'..='9').contains(&first));
        match text.parse() {
            Ok(id) if canonical => Ok(Self(id)),
            _ => Err(
                "must be a whole number of at least 1, as in the list of debug blobs".to_owned(),
            ),
        }
    }
}

/// A debug blob without its content.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DebugBlob")]
struct DebugBlobDto {
    /// The blob's id, unique among the blobs of its vehicle.
    #[schemars(range(min = 1))]
    blob_id: i64,
    /// The id of the vehicle.
    #[schemars(schema_with = "device_id_field")]
    device_id: String,
    /// When the gateway received the blob.
    received_at: Rfc3339,
    /// The length of the content in bytes.
    size: u64,
}

impl From<DebugBlobInfo> for DebugBlobDto {
    fn from(blob: DebugBlobInfo) -> Self {
        Self {
            blob_id: blob.id,
            device_id: blob.device_id.to_string(),
            received_at: Rfc3339(blob.received_at),
            size: blob.size,
        }
    }
}

impl Example for DebugBlobDto {
    fn example() -> Value {
        json!({
            "blobId": 7,
            "deviceId": EXAMPLE_DEVICE_ID,
            "receivedAt": "2026-11-23T02:54:59.050Z",
            "size": 2048,
        })
    }
}

/// The content of a debug blob, as a download: browsers must not render content that a vehicle chose.
struct BlobContent(Download);

impl IntoResponse for BlobContent {
    fn into_response(self) -> Response {
        let (id, size) = (self.0.blob_id, self.0.size);
        let disposition = format!("attachment; filename=\"debug-blob-{id}.bin\"");
        let pieces = stream::try_unfold(self.0, async |mut download| {
            let piece = download.next().await?;
            Ok::<_, DownloadError>(piece.map(|piece| (piece, download)))
        });
        (
            [
                (header::CONTENT_TYPE, OCTET_STREAM.to_owned()),
                (header::CONTENT_LENGTH, size.to_string()),
                (header::CONTENT_DISPOSITION, disposition),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
            ],
            Body::from_stream(pieces),
        )
            .into_response()
    }
}

impl OperationOutput for BlobContent {
    type Inner = Self;

    fn inferred_responses(
        _: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        let content = MediaType {
            example: Some("panic at 0x08001f3c".into()),
            ..media(json_schema!({ "type": "string", "format": "binary" }))
        };
        let mut download = response("The content of the blob.", OCTET_STREAM, content);
        let disposition = header_doc(
            "Suggests a file name.",
            json_schema!({ "type": "string", "examples": ["attachment; filename=\"debug-blob-7.bin\""] }),
        );
        download.headers.insert(
            "Content-Disposition".to_owned(),
            ReferenceOr::Item(disposition),
        );
        vec![(Some(StatusCode::OK.as_u16()), download)]
    }
}
