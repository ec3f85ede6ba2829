//! Write requests about webhook endpoints and their messages.

mod change_backlog;
mod change_endpoint;
mod claim_messages;
mod configure_endpoints;
mod correct_due_times;
mod create_endpoint;
mod delete_endpoint;
mod expire_messages;
mod report_current_state;
mod retry_failed_messages;
mod retry_message;
mod rotate_secret;
mod send_test_message;
mod settle_attempt;

/// Bytes that an endpoint, or a change of one, takes in the queue.
const ENDPOINT_BYTES: usize = 2048;
