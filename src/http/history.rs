//! What a vehicle left behind: its reports and its debug blobs.

use std::sync::Arc;

use aide::{
    OperationOutput,
    axum::{ApiRouter, routing::get_with},
    generate::GenContext,
    openapi::{MediaType, Operation, ReferenceOr, Response as ResponseDoc},
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use indexmap::IndexMap;
use schemars::json_schema;

use super::{
    Shared,
    body::Json,
    describe,
    extract::{BlobPath, DevicePath, Query},
    paging::{Cursor, HistoryQuery, Page},
    problem::Problem,
    wire::{DebugBlob, Report},
};
use crate::vehicles::Position;

const TAG: &str = "History";
const OCTET_STREAM: &str = "application/octet-stream";

pub(super) fn routes() -> ApiRouter<Arc<Shared>> {
    ApiRouter::new()
        .api_route(
            "/vehicles/{deviceId}/reports",
            get_with(list_reports, |op| {
                op.id("list_reports").tag(TAG).summary("List a vehicle's reports").description(
                    "The vehicle's reports, newest first, in pages. Reports that come between two pages do \
                     not shift the older ones.",
                )
            }),
        )
        .api_route(
            "/vehicles/{deviceId}/debug-blobs",
            get_with(list_debug_blobs, |op| {
                op.id("list_debug_blobs").tag(TAG).summary("List a vehicle's debug blobs").description(
                    "The crash dumps that the vehicle sent, without their bytes, newest first, in pages.",
                )
            }),
        )
        .api_route(
            "/vehicles/{deviceId}/debug-blobs/{blobId}",
            get_with(get_debug_blob, |op| {
                op.id("get_debug_blob").tag(TAG).summary("Download a debug blob").description(
                    "The bytes of one crash dump, exactly as the vehicle sent them.",
                )
            }),
        )
}

async fn list_reports(
    State(state): State<Arc<Shared>>,
    DevicePath(device_id): DevicePath,
    Query(query): Query<HistoryQuery<Position>>,
) -> Result<Json<Page<Report>>, Problem> {
    let reports = state.vehicles.reports(&device_id, query.page()).await?;
    Ok(Json(Page::new(
        reports,
        query.limit,
        |last| {
            Position {
                received_at: last.received_at,
                id: last.id,
            }
            .encode()
        },
        |report| Report::of(&device_id, &report),
    )))
}

async fn list_debug_blobs(
    State(state): State<Arc<Shared>>,
    DevicePath(device_id): DevicePath,
    Query(query): Query<HistoryQuery<Position>>,
) -> Result<Json<Page<DebugBlob>>, Problem> {
    let blobs = state.vehicles.debug_blobs(&device_id, query.page()).await?;
    Ok(Json(Page::new(
        blobs,
        query.limit,
        |last| {
            Position {
                received_at: last.received_at,
                id: last.id,
            }
            .encode()
        },
        DebugBlob::from,
    )))
}

async fn get_debug_blob(
    State(state): State<Arc<Shared>>,
    BlobPath { device_id, blob_id }: BlobPath,
) -> Result<BlobBytes, Problem> {
    let content = state
        .vehicles
        .debug_blob_content(&device_id, blob_id)
        .await?;
    Ok(BlobBytes { blob_id, content })
}

/// The bytes of a debug blob, as a file to be saved: never shown by a browser, whatever is in it.
struct BlobBytes {
    blob_id: i64,
    content: Bytes,
}

impl IntoResponse for BlobBytes {
    fn into_response(self) -> Response {
        let disposition = format!("attachment; filename=\"debug-blob-{}.bin\"", self.blob_id);
        (
            [
                (header::CONTENT_TYPE, OCTET_STREAM.to_owned()),
                (header::CONTENT_DISPOSITION, disposition),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
            ],
            self.content,
        )
            .into_response()
    }
}

impl OperationOutput for BlobBytes {
    type Inner = Self;

    fn inferred_responses(
        _: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        let media = MediaType {
            example: Some("panic at 0x08001f3c".into()),
            ..describe::media(json_schema!({ "type": "string", "format": "binary" }))
        };
        let disposition = describe::header(
            "Names a file to save the bytes in.",
            json_schema!({ "type": "string", "examples": ["attachment; filename=\"debug-blob-7.bin\""] }),
        );
        let response = ResponseDoc {
            description: "The bytes.".to_owned(),
            content: IndexMap::from_iter([(OCTET_STREAM.to_owned(), media)]),
            headers: IndexMap::from_iter([(
                "Content-Disposition".to_owned(),
                ReferenceOr::Item(disposition),
            )]),
            ..ResponseDoc::default()
        };
        vec![(Some(StatusCode::OK.as_u16()), response)]
    }
}
