//! What must hold of any bytes that arrive as a DNS message, whether they are read or refused.

use parser::dns::{REFUSAL_LEN, read_answer, read_query, refuse};

/// Panics if one of the parser's promises is broken.
pub(crate) fn check(message: &[u8]) {
    if let Ok(question) = read_query(message) {
        let name = question.name.as_str();
        assert!(name.ends_with('.') && name.len() < 255);
        assert!(
            name == "." || name.split_terminator('.').all(|label| (1..64).contains(&label.len()))
        );
        let letter =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        assert!(name.bytes().all(letter));
        assert!(read_answer(message).is_err(), "a query is no answer");
        let mut out = [0; REFUSAL_LEN];
        let length = refuse(message, &mut out).expect("a query can be refused");
        let refusal = read_answer(&out[..length]).expect("a refusal is an answer");
        assert_eq!((refusal.question, refusal.code), (question, 5));
    }
    if let Ok(answer) = read_answer(message) {
        let mut count = 0_usize;
        let _ = answer.addresses(&mut |_, ttl| {
            assert!(ttl <= u32::MAX >> 1);
            count += 1;
        });
        // An address takes at least a pointer, ten bytes and itself.
        assert!(count * 16 <= message.len());
    }
}
