//! Clients that choose their rooms' names: how many there may be, and how long they may be.

use sedge::extract::{Ack, Data};
use sedge::{JoinError, Socket};

use crate::stage::{Stage, ask};

/// A server whose clients join what they like and are told what came of it.
fn stage() -> Stage {
    let stage = Stage::new();
    stage.io.on("join", async |socket: Socket, Data(rooms): Data<Vec<String>>, ack: Ack| {
        let outcome = match socket.join(rooms) {
            Ok(()) => "joined".to_owned(),
            Err(error) => error.to_string(),
        };
        ack.send(&outcome)
    });
    stage.io.on("leave", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
        socket.leave(room)?;
        ack.send(&()).map_err(Box::<dyn std::error::Error>::from)
    });
    stage.io.on("rooms", async |socket: Socket, ack: Ack| {
        ack.send(&socket.rooms().await.iter().map(|room| room.len()).collect::<Vec<_>>().len())
    });
    stage
}

fn names(numbers: std::ops::Range<usize>, len: usize) -> String {
    let names: Vec<String> = numbers.map(|n| format!(r#""{n:0>len$}""#)).collect();
    format!("[{}]", names.join(","))
}

#[test]
fn thousands_of_long_names_end_at_the_limit() {
    let mut stage = stage();
    let (mut client, _) = stage.client();
    // 4096 names of 512 bytes, in messages of half the largest size.
    for part in 0..4 {
        let names = names(part * 1024..(part + 1) * 1024, 512);
        client.send(&format!(r#"21["join",{names}]"#));
        client.expect(r#"31["joined"]"#);
        stage.all_is_well();
    }
    let full = JoinError::TooManyRooms { limit: 4096 };
    for _ in 0..10 {
        client.send(r#"21["join",["one more"]]"#);
        client.expect(&format!(r#"31["{full}"]"#));
    }
    // Joining again what was joined is no new room.
    client.send(&format!(r#"21["join",{}]"#, names(0..1024, 512)));
    client.expect(r#"31["joined"]"#);
    // Asking for the list again and again costs no more than the list.
    for _ in 0..100 {
        client.send(r#"22["rooms"]"#);
    }
    for _ in 0..100 {
        client.expect("32[4097]");
    }
    client.send(&format!(r#"23["leave",{:?}]"#, format!("{:0>512}", 7)));
    client.expect("33[]");
    client.send(r#"21["join",["one more"]]"#);
    client.expect(r#"31["joined"]"#);
    client.close();
    stage.all_is_well();
    stage.finish();
}

#[test]
fn names_that_are_too_long_are_not_joined() {
    let mut stage = stage();
    let (mut client, id) = stage.client();
    for len in [513, 100_000] {
        client.send(&format!(r#"21["join",["before {len}",{:?},"behind"]]"#, "n".repeat(len)));
        let error = JoinError::NameTooLong { len, limit: 512 };
        client.expect(&format!(r#"31["{error}"]"#));
    }
    // Bytes count, not characters.
    client.send(&format!(r#"21["join",["{}"]]"#, "é".repeat(257)));
    client.expect(&format!(r#"31["{}"]"#, JoinError::NameTooLong { len: 514, limit: 512 }));
    // Its own room, "before 513", "before 100000".
    client.send(r#"22["rooms"]"#);
    client.expect("32[3]");
    // Its own room is always there, and cannot be left.
    client.send(&format!(r#"23["leave","{id}"]"#));
    client.expect("33[]");
    stage.io.to(&id).emit("still", &()).unwrap();
    client.expect(r#"2["still"]"#);
    ask(&mut client);
    client.close();
    stage.all_is_well();
    stage.finish();
}

#[test]
fn joining_another_socket_s_room_is_seen_by_that_room_only() {
    // Ids are rooms: an application that lets clients choose any name lets them listen in, as with the
    // official server. It must not disturb the owner.
    let stage = stage();
    let (mut owner, id) = stage.client();
    let (mut guest, _) = stage.client();
    guest.send(&format!(r#"21["join",["{id}"]]"#));
    guest.expect(r#"31["joined"]"#);
    stage.io.to(&id).emit("private", &()).unwrap();
    owner.expect(r#"2["private"]"#);
    guest.expect(r#"2["private"]"#);
    guest.close();
    stage.io.to(&id).emit("again", &()).unwrap();
    owner.expect(r#"2["again"]"#);
    owner.close();
    stage.finish();
}
