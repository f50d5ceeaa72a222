//! Changes to a file such as break readers: bits, lengths, pieces that are cut, doubled or come from another file. The
//! same seed makes the same file on every machine.

/// xorshift64*, which is enough to spread changes.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn of(name: &str, round: u64) -> Self {
        let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self((seed ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `limit`, which is above zero.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap();
        usize::try_from(self.next() % limit).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }
}

/// Lengths and counts that readers trip over.
const NUMBERS: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 40,
    1 << 60,
    i64::MAX.cast_unsigned(),
    u64::MAX,
];
/// The same in text.
const TEXTS: [&[u8]; 8] =
    [b"-1", b"99999999999999999999", b"1e999", b"\\u0000", b"../", b"[[[[[[[[", b"{\"a\":", b"\xff\xfe"];

/// One file with one to six changes.
pub(crate) fn mutate(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[dice.below(seeds.len())].clone();
    for _ in 0..=dice.below(6) {
        change(dice, &mut bytes, seeds);
    }
    bytes.truncate(1 << 16);
    bytes
}

fn change(dice: &mut Dice, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    if bytes.is_empty() {
        bytes.push(dice.byte());
        return;
    }
    let at = dice.below(bytes.len());
    let left = bytes.len() - at;
    match dice.below(10) {
        0 => bytes[at] ^= 1 << dice.below(8),
        1 => bytes[at] = dice.byte(),
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..at + 1 + dice.below(left.min(64)))),
        4 => {
            let piece = bytes[at..at + 1 + dice.below(left.min(64))].to_vec();
            let times = 1 + dice.below(16);
            bytes.splice(at..at, piece.repeat(times));
        }
        // A length of two, four or eight bytes, in either order.
        5 | 6 => {
            let value = NUMBERS[dice.below(NUMBERS.len())];
            let width = [2, 4, 8][dice.below(3)];
            let raw = if dice.below(2) == 0 { value.to_le_bytes() } else { value.swap_bytes().to_le_bytes() };
            let raw = if dice.below(2) == 0 { &raw[..width] } else { &raw[8 - width..] };
            for (to, from) in bytes[at..].iter_mut().zip(raw) {
                *to = *from;
            }
        }
        7 => {
            let text = TEXTS[dice.below(TEXTS.len())];
            let end = at + dice.below(left.min(8) + 1);
            bytes.splice(at..end, text.iter().copied());
        }
        // The beginning of one file, the end of another.
        8 => {
            let other = &seeds[dice.below(seeds.len())];
            if !other.is_empty() {
                bytes.truncate(at);
                bytes.extend_from_slice(&other[dice.below(other.len())..]);
            }
        }
        // A number in decimal digits, longer or shorter.
        _ => {
            if let Some(digit) = bytes[at..].iter().position(u8::is_ascii_digit) {
                let text = NUMBERS[dice.below(NUMBERS.len())].to_string();
                bytes.splice(at + digit..=at + digit, text.into_bytes());
            }
        }
    }
}
