-- A workspace with fifty of everything. tests/test_statements.py counts what it takes to read them.

INSERT INTO users (id, auth0_id, email, name) OVERRIDING SYSTEM VALUE
    SELECT i, 'local|user' || i, 'user' || i || '@example.org', 'User ' || i FROM generate_series(1, 60) i;

-- 1 to 50 are channels, one in three private, 101 to 150 direct messages of user 1.
INSERT INTO channels (id, name, owner_id, creator_id, is_private, join_code) OVERRIDING SYSTEM VALUE
    SELECT i, 'channel-' || to_char(i, 'FM00'), 1 + (i + 1) % 2, 1, i % 3 = 1, CASE WHEN i % 3 = 1 THEN 'code-' || i END
    FROM generate_series(1, 50) i;
INSERT INTO channels (id, creator_id, is_private, is_dm, dm_key) OVERRIDING SYSTEM VALUE
    SELECT i, 1, true, true, '1,' || i - 99 FROM generate_series(101, 150) i;

-- Users 1 and 2 are in every channel, all in channel 1.
INSERT INTO memberships (channel_id, user_id)
    SELECT id, 1 FROM channels
    UNION SELECT id, 2 FROM channels WHERE NOT is_dm
    UNION SELECT id, id - 99 FROM channels WHERE is_dm
    UNION SELECT 1, id FROM users;
INSERT INTO channel_roles (channel_id, user_id, role) SELECT id, owner_id, 'OWNER' FROM channels WHERE NOT is_dm;
INSERT INTO channel_roles (channel_id, user_id, role) SELECT 1, i, 'MODERATOR' FROM generate_series(3, 55) i;

-- In channel 1: a chain of 100 replies (1 to 101), and chains of four (201 to 264). Every seventh is deleted. Every
-- second of the other channels has a message.
INSERT INTO messages (id, channel_id, seq, author_id, content, deleted_at, parent_id, chain_id, chain_pos)
    OVERRIDING SYSTEM VALUE
    SELECT i, 1, i, 1 + i % 50, CASE WHEN i % 7 > 0 THEN 'Message ' || i END, CASE WHEN i % 7 = 0 THEN now() END,
        CASE WHEN i > top THEN i - 1 END, CASE WHEN i > top THEN top END, i - top
    FROM generate_series(1, 264) i, LATERAL (SELECT CASE WHEN i <= 101 THEN 1 ELSE i - (i - 201) % 4 END AS top) AS chain
    WHERE i <= 101 OR i > 200;
INSERT INTO messages (id, channel_id, seq, author_id, content) OVERRIDING SYSTEM VALUE
    SELECT 1000 + id, id, 1, 2, 'Hello' FROM channels WHERE id > 1 AND id % 2 = 1;

-- Two different reactions to every second message. 301, 310 and 350 have 1, 10 and 50; the first of 350's is by fifty.
INSERT INTO messages (id, channel_id, seq, author_id, content) OVERRIDING SYSTEM VALUE
    SELECT i, 1, i, 1, 'React!' FROM unnest(ARRAY[300, 301, 310, 350]) i;
INSERT INTO message_reactions (message_id, reaction_id, user_id)
    SELECT id, 1 + k, k FROM messages, generate_series(1, 2) k WHERE id < 300 AND id % 2 = 0
    UNION ALL SELECT i, k, 1 + k % 3 FROM unnest(ARRAY[300, 301, 310, 350]) i, generate_series(1, i - 300) k
    UNION ALL SELECT 350, 1, i FROM generate_series(5, 54) i;

-- Sixty files in channel 1: message 262 has ten of them, others three or none, and some files wait.
INSERT INTO stored_objects (key) SELECT 'object-' || i FROM generate_series(1, 60) i;
INSERT INTO files (id, channel_id, uploader_id, message_id, object_key, name, content_type, size)
    OVERRIDING SYSTEM VALUE
    SELECT i, 1, 1 + i % 50, CASE WHEN i <= 10 THEN 262 WHEN i <= 55 THEN 202 + (i - 11) / 3 * 3
        WHEN i % 2 = 0 THEN 1 END, 'object-' || i,
        'file ' || i, 'text/plain', i
    FROM generate_series(1, 60) i;

INSERT INTO stream_heads (stream_id, head_seq)
    SELECT 'u' || id, 1 FROM users UNION ALL SELECT 'c' || id, 1000 FROM channels;
SELECT setval(pg_get_serial_sequence(name, 'id'), 10000) FROM unnest(ARRAY['users', 'channels', 'messages', 'files']) AS name;
