//! The REST API as back-ends use it.

mod contract;
mod paging;
