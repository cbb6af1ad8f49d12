mod bare;
mod bus;
mod credentials;
mod json;
mod kit;
mod limits;
mod random;
