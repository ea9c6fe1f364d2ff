use super::*;

/// The fields of a message: number and value, or number and bytes.
#[derive(Debug, PartialEq)]
enum Field {
    Number(u64, u64),
    Bytes(u64, Vec<u8>),
}

fn read_varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
    }
    unreachable!()
}

fn fields(mut bytes: &[u8]) -> Vec<Field> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = read_varint(&mut bytes);
        let value = read_varint(&mut bytes);
        fields.push(match key & 7 {
            0 => Field::Number(key >> 3, value),
            2 => {
                let (field, rest) = bytes.split_at(usize::try_from(value).unwrap());
                bytes = rest;
                Field::Bytes(key >> 3, field.to_vec())
            }
            other => panic!("wire type {other}"),
        });
    }
    fields
}

fn messages(fields: &[Field], number: u64) -> Vec<Vec<Field>> {
    let bytes = |field: &Field| match field {
        Field::Bytes(n, bytes) if *n == number => Some(self::fields(bytes)),
        _ => None,
    };
    fields.iter().filter_map(bytes).collect()
}

fn frame(function: &str, line: u64) -> Frame {
    Frame { function: function.to_owned(), file: "src/main.rs".to_owned(), line }
}

#[test]
fn stacks_share_their_tables() {
    let mut profile = Profile::default();
    profile.add(&[frame("leaf", 3), frame("main", 300)], 5, "worker-0", 10);
    profile.add(&[frame("main", 300)], 1, "worker-1", 10);
    profile.add(&[frame("leaf", 4), frame("main", 300)], 1, "worker-0", 10);
    let fields = fields(&profile.encode(Timing { start: 1 << 40, duration: 2, period: 10 }));
    let strings: Vec<_> = fields
        .iter()
        .filter_map(|field| match field {
            Field::Bytes(6, text) => Some(String::from_utf8(text.clone()).unwrap()),
            _ => None,
        })
        .collect();
    assert_eq!(strings[0], "", "the first string must be empty");
    let name = |index: u64| strings[usize::try_from(index).unwrap()].as_str();
    let functions = messages(&fields, 5);
    let names: Vec<_> = functions
        .iter()
        .map(|function| match function.as_slice() {
            [Field::Number(1, id), Field::Number(2, text), Field::Number(3, _), Field::Number(4, file)] => {
                (*id, name(*text), name(*file))
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, [(1, "leaf", "src/main.rs"), (2, "main", "src/main.rs")]);
    let locations = messages(&fields, 4);
    let places: Vec<_> = locations
        .iter()
        .map(|location| match (location.as_slice(), messages(location, 4).as_slice()) {
            ([Field::Number(1, id), _], [line]) => match line.as_slice() {
                [Field::Number(1, function), Field::Number(2, line)] => (*id, *function, *line),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(places, [(1, 1, 3), (2, 2, 300), (3, 1, 4)]);
    let samples = messages(&fields, 2);
    let stacks: Vec<_> = samples.iter().map(|sample| (&sample[0], &sample[1])).collect();
    let expected = [(vec![1, 2], vec![5, 50]), (vec![2], vec![1, 10]), (vec![3, 2], vec![1, 10])];
    let expected = expected.map(|(stack, values)| (Field::Bytes(1, stack), Field::Bytes(2, values)));
    assert_eq!(stacks, expected.iter().map(|(stack, values)| (stack, values)).collect::<Vec<_>>());
    assert!(fields.contains(&Field::Number(9, 1 << 40)) && fields.contains(&Field::Number(12, 10)));
    assert_eq!(messages(&fields, 1).len(), 2);
}
