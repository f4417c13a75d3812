//! Tables for reading, merging and normalising, on layers that the tests make themselves.

mod hostile;
mod kit;
mod loose;
mod merge;
mod normalise;
mod read;
mod stored;
