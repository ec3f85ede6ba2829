//! Commands to vehicles: outcomes, queues and order, on one instance.

mod broadcast;
mod delivery_order;
mod disconnect;
mod fetch_info;
mod idempotency;
mod interruptions;
mod load;
mod outcomes;
mod queued;
