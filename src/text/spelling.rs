//! Characters that the font has not, in such as it has.
//!
//! Hangul is written letter by letter as the Revised Romanization of Korean (2000) has it, without the changes that
//! sounds undergo between syllables: 지하주차장 becomes `jihajuchajang`. Latin letters of other alphabets lose their
//! accents, quotation marks and dashes their slant.

/// The characters that [`super::draw`] draws for `text`. What they cannot spell comes through as it is, and is drawn as a
/// box. Never allocates.
pub fn spell(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(letters)
}

/// Where in `text` the first character begins that has no room in `columns` columns, and that character.
pub fn beyond(text: &str, columns: usize) -> Option<(usize, char)> {
    let mut used = 0;
    text.char_indices().find(|(_, c)| {
        used += letters(*c).count();
        used > columns
    })
}

/// What one character is spelled as.
fn letters(c: char) -> impl Iterator<Item = char> {
    let parts = parts(c);
    let itself = if parts.is_none() { Some(c) } else { None };
    itself.into_iter().chain(parts.unwrap_or_default().into_iter().flat_map(str::chars))
}

/// The pieces of a character's spelling; `None` for one that stands for itself.
fn parts(c: char) -> Option<[&'static str; 3]> {
    let one = |text| Some([text, "", ""]);
    match c {
        '\0'..='\u{ff}' => None,
        // Unicode 16.0, chapter 3.12: syllables are ordered by first consonant, vowel, last consonant.
        '\u{ac00}'..='\u{d7a3}' => {
            let number = c as usize - 0xac00;
            let (rest, last) = (number / LAST.len(), number % LAST.len());
            Some([FIRST[rest / VOWELS.len()], VOWELS[rest % VOWELS.len()], LAST[last]])
        }
        'Ĳ' => one("IJ"),
        'ĳ' => one("ij"),
        'Œ' => one("OE"),
        'œ' => one("oe"),
        '\u{100}'..='\u{17f}' => {
            let at = c as usize - 0x100;
            LATIN_A.get(at..at + 1).and_then(one)
        }
        'Ș' => one("S"),
        'ș' => one("s"),
        'Ț' => one("T"),
        'ț' => one("t"),
        'ẞ' => one("ß"),
        // Accents that follow their letter.
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200d}' | '\u{feff}' => one(""),
        '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{3000}' => one(" "),
        '‐'..='―' | '−' => one("-"),
        '‘'..='‛' => one("'"),
        '“'..='‟' => one("\""),
        '•' => one("·"),
        '…' => one("..."),
        '€' => one("EUR"),
        '→' => one("->"),
        _ => None,
    }
}

/// U+0100 to U+017F without accents; Ĳ, ĳ, Œ and œ are spelled before anybody looks here.
const LATIN_A: &str = "AaAaAaCcCcCcCcDdDdEeEeEeEeEeGgGgGgGgHhHhIiIiIiIiIi\
??JjKkkLlLlLlLlLlNnNnNnnNnOoOoOo??RrRrRrSsSsSsSsTtTtTtUuUuUuUuUuUuWwYyYZzZzZzs";

const FIRST: [&str; 19] =
    ["g", "kk", "n", "d", "tt", "r", "m", "b", "pp", "s", "ss", "", "j", "jj", "ch", "k", "t", "p", "h"];

const VOWELS: [&str; 21] = [
    "a", "ae", "ya", "yae", "eo", "e", "yeo", "ye", "o", "wa", "wae", "oe", "yo", "u", "wo", "we", "wi",
    "yu", "eu", "ui", "i",
];

/// As they sound at the end of a word; of two consonants one is heard.
const LAST: [&str; 28] = [
    "", "k", "k", "k", "n", "n", "n", "t", "l", "k", "m", "l", "l", "l", "p", "l", "m", "p", "p", "t", "t",
    "ng", "t", "t", "k", "t", "p", "t",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spelled(text: &str) -> String {
        spell(text).collect()
    }

    #[test]
    fn words() {
        assert_eq!(spelled("지하주차장 B2"), "jihajuchajang B2");
        // Examples of the standard whose sounds do not change.
        for (word, romanised) in
            [("부산", "busan"), ("강남", "gangnam"), ("옥천", "okcheon"), ("팔당", "paldang")]
        {
            assert_eq!(spelled(word), romanised);
        }
        assert_eq!(spelled("가힣"), "gahit", "the first syllable and the last");
        assert_eq!(spelled("Süd: Tür 3, 25 °C"), "Süd: Tür 3, 25 °C");
        assert_eq!(spelled("Łódź – “Żabka”… Œ u\u{308}"), "Lódz - \"Zabka\"... OE u");
        assert_eq!(spelled("駐車場"), "駐車場");
    }

    #[test]
    fn every_letter_of_the_table_keeps_its_case() {
        assert_eq!(LATIN_A.len(), 0x80);
        for (c, plain) in ('\u{100}'..='\u{17f}').zip(LATIN_A.chars()).filter(|(_, plain)| *plain != '?') {
            assert_eq!(c.is_uppercase(), plain.is_uppercase(), "{c} {plain}");
        }
        // Where letters of another kind begin, as a table that has slipped would not have them.
        for (c, plain) in
            [('Ć', "C"), ('ı', "i"), ('ĸ', "k"), ('ŉ', "n"), ('ő', "o"), ('Ŕ', "R"), ('Ÿ', "Y"), ('ſ', "s")]
        {
            assert_eq!(spelled(&c.to_string()), plain);
        }
    }

    #[test]
    fn room_is_counted_in_what_is_drawn() {
        assert_eq!(beyond("a차b", 3), Some((1, '차')), "cha has no room behind a");
        assert_eq!(beyond("a차b", 4), Some((4, 'b')));
        assert_eq!(beyond("a차b", 5), None);
        assert_eq!(beyond("", 0), None);
        assert_eq!(beyond("ab", 1), Some((1, 'b')));
    }

    proptest! {
        #[test]
        fn spelling_once_is_enough(text in "[ -~À-ſ가-힣…\u{300}-\u{310}]{0,20}", columns in 0usize..40) {
            let once = spelled(&text);
            prop_assert_eq!(spelled(&once), &once[..]);
            prop_assert!(once.chars().all(|c| u32::from(c) < 0x100));
            match beyond(&text, columns) {
                None => prop_assert!(once.chars().count() <= columns),
                Some((at, c)) => {
                    let before = spell(&text[..at]).count();
                    prop_assert!(before <= columns && before + letters(c).count() > columns);
                }
            }
        }
    }
}
