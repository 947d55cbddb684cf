//! HTTP heads, and what every refusal has in common (DESIGN 3).

use std::io::Read;

use super::stream::explain;
use super::Stream;

/// A head: its first line and its fields.
#[derive(Debug)]
pub struct Head {
    pub line: String,
    fields: Vec<(String, String)>,
}

impl Head {
    /// Reads a head and not a byte more.
    #[track_caller]
    pub fn read(reader: &mut impl Read) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match reader.read(&mut byte) {
                Ok(0) => panic!("FIN in the head: {}", head.escape_ascii()),
                Ok(_) => head.push(byte[0]),
                Err(e) => panic!("in the head: {}", explain(&e)),
            }
        }
        let head = String::from_utf8(head).expect("the head is text");
        let mut lines = head.split("\r\n").take_while(|l| !l.is_empty());
        let line = lines.next().unwrap_or_default().to_string();
        let field = |line: &str| {
            let (name, value) = line.split_once(':').expect("a header has a colon");
            (name.to_string(), value.trim().to_string())
        };
        Self { line, fields: lines.map(field).collect() }
    }

    /// One header's value; `None` if it is absent, a failure if it is repeated.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, v)| v.as_str());
        assert!(values.next().is_none(), "{name} is repeated");
        value
    }

    /// Whether one of the comma-separated lists in headers of this name has `token`.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        let lists = self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let mut tokens = lists.flat_map(|(_, v)| v.split(',')).map(str::trim);
        tokens.any(|t| t.eq_ignore_ascii_case(token))
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    head: Head,
    pub body: String,
}

impl Response {
    /// Sends `request` and reads what is answered until FIN. A reset fails the test.
    #[track_caller]
    pub fn to(port: u16, request: &[u8]) -> Self {
        let mut stream = Stream::tcp(port);
        stream.send(request);
        Self::read(&mut stream)
    }

    /// Reads an answer until FIN. A reset fails the test.
    #[track_caller]
    pub fn read(stream: &mut Stream) -> Self {
        let bytes = stream.receive_until_fin();
        assert!(!bytes.is_empty(), "FIN without an answer");
        Self::parse(&bytes)
    }

    /// An answer whose body is all that follows its head.
    #[track_caller]
    pub fn parse(mut bytes: &[u8]) -> Self {
        let mut response = Self::read_head(&mut bytes);
        response.body = String::from_utf8(bytes.to_vec()).expect("the body is text");
        response
    }

    /// Reads the head of an answer and not a byte more.
    #[track_caller]
    pub fn read_head(reader: &mut impl Read) -> Self {
        let head = Head::read(reader);
        let status = head.line.strip_prefix("HTTP/1.1 ").and_then(|l| l.get(..3));
        let status = status.and_then(|s| s.parse().ok()).expect("a status line");
        Self { status, head, body: String::new() }
    }

    /// One header's value; `None` if it is absent, a failure if it is repeated.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// Whether one of the comma-separated lists in headers of this name has `token`.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.head.has_token(name, token)
    }

    /// What every refusal has (DESIGN 3): one line of plain text, and the end announced.
    #[track_caller]
    pub fn expect_refusal(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.has_token("Connection", "close"), "{self:?}");
        let length = self.header("Content-Length").map(str::parse);
        assert_eq!(length, Some(Ok(self.body.len())), "{self:?}");
        let kind = self.header("Content-Type").expect("Content-Type");
        assert!(kind.starts_with("text/plain"), "{kind}");
        let text = self.body.trim_end();
        assert!(text.len() > 10, "the body says too little: {text:?}");
        assert!(!text.contains('\n'), "more than one line: {text:?}");
    }
}
