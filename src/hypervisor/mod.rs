//! libvirt: the definitions that we give it, and the only place that talks to it.

mod definition;
mod libvirt;
pub mod memory;
mod reservations;

pub use definition::{
    Boot, Card, Clock, Disk, DomainDefinition, NetworkDefinition, Plug, Reservation, Slot, reservations, uuid_of,
};
pub use libvirt::{DomainState, Libvirt, Parcel, SeenDomain};
pub use reservations::{Difference, SeenNetwork, SeenReservation};
