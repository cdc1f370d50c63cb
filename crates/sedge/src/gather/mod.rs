//! Answers of all shards and of other processes to what one has asked: who answers ([`responders`]), and
//! what they have said so far ([`inquiry`], [`acks`]). The futures that wait for it are in `api`.

pub(crate) mod acks;
pub(crate) mod inquiry;
pub(crate) mod responders;
