//! An HTTP server for tests, with prepared answers.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// A server that gives one prepared answer per connection and then closes it; without answers left, it closes at once.
pub struct Server {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// With these answers, in order.
    pub fn start(answers: Vec<Vec<u8>>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        std::thread::spawn(move || {
            let mut answers = answers.into_iter();
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                seen.lock().expect("no panic").push(head(&mut stream));
                // The client may have gone; the assertions of the test tell.
                let _ = stream.write_all(&answers.next().unwrap_or_default());
            }
        });
        Server { address, requests }
    }

    /// A URL of it.
    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.address)
    }

    /// Heads of the requests so far, in lower case.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no panic").clone()
    }
}

fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).to_lowercase()
}

/// An answer; `headers` are lines that end with `\r\n`.
pub fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status}\r\n{headers}connection: close\r\n\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// A whole file, or with `sent` less than its length one that the server cuts.
pub fn file(etag: &str, body: &[u8], sent: usize) -> Vec<u8> {
    let headers = format!("content-length: {}\r\netag: \"{etag}\"\r\naccept-ranges: bytes\r\n", body.len());
    answer("200 OK", &headers, &body[..sent])
}

/// The rest of a file.
pub fn rest(etag: &str, body: &[u8], from: usize) -> Vec<u8> {
    let (length, last, all) = (body.len() - from, body.len() - 1, body.len());
    let headers =
        format!("content-length: {length}\r\ncontent-range: bytes {from}-{last}/{all}\r\netag: \"{etag}\"\r\n");
    answer("206 Partial Content", &headers, &body[from..])
}
