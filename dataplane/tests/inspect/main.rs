//! The stream engine against a model of TCP: whatever the network and the client do, the server receives exactly the allowed
//! requests and the client exactly their responses and the denials.

mod attacks;
mod endpoint;
mod hand;
mod hostile;
mod legitimate;
mod network;
mod packet;
mod random;
mod run;
mod script;
mod segmentation;
