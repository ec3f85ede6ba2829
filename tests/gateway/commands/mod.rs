//! Commands to vehicles: outcomes, queues and order, on one instance.

mod delivery_order;
mod load;
mod outcomes;
mod queued;
