//! A whole fleet of real processes under a seeded schedule of faults and a known load; then a check of everything that
//! every client saw.
//!
//! [`history`] is what was seen, as data; [`check`] is pure and says what of it should not be; [`plant`] proves that it
//! would. [`fleet`] runs the processes, [`workload`] the clients and services, [`faults`] the troubles.

pub mod check;
pub mod document;
pub mod faults;
pub mod fleet;
pub mod history;
pub mod measure;
pub mod memory;
pub mod options;
pub mod plant;
pub mod random;
pub mod report;
pub mod run;
pub mod workload;
