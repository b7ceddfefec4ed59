//! stub
pub mod net;
