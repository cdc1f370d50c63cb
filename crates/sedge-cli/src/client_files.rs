//! Where the files of the official JavaScript client are.

use std::path::PathBuf;

/// Where npm puts them, from the project's folder.
const PLACE: &str = "web/node_modules/socket.io-client/dist";

/// The file that tells that a directory is the right one.
const MAIN: &str = "socket.io.js";

/// What to do if they are nowhere.
pub(crate) const ADVICE: &str = "run `npm install socket.io-client` and give --client-dir \
                                 node_modules/socket.io-client/dist";

/// Looks for the files below the current directory and next to the executable.
pub(crate) fn search() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(PLACE)));
    let places = [Some(PathBuf::from(PLACE)), beside];
    places.into_iter().flatten().find(|place| place.join(MAIN).is_file())
}
