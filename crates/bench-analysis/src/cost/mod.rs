//! Money: dated price tables, what a request cost, what a target cost.
//!
//! Decimal US dollars throughout. A price that is not known makes a cost absent, never 0.

mod bill;
mod meter;
mod prices;
pub mod summary;

pub use bill::{Bill, TokenClasses, bill};
pub use meter::PriceMeter;
pub use prices::{Price, PriceError, PriceTable, Prices};
