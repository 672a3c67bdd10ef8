-- Why: scripts of many years show a name and a password instead of a token, and some paths are for
-- those users only who hold a permission.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

ALTER TABLE users ADD COLUMN password text CHECK (char_length(password) BETWEEN 1 AND 255);
COMMENT ON COLUMN users.password IS
    'Hashed: Argon2id in PHC form, or as it was imported until its owner next shows it.'
    ' Null: the user has none.';

CREATE TABLE user_permissions (
    user_id integer NOT NULL REFERENCES users ON DELETE CASCADE,
    permission text NOT NULL
        CHECK (char_length(permission) BETWEEN 1 AND 100 AND permission <> 'administer'),
    PRIMARY KEY (user_id, permission)
);
COMMENT ON TABLE user_permissions IS
    'What a user may do besides what every user may. Administrators hold all without a row here.';

INSERT INTO schema_migrations (name) VALUES ('0007_add_passwords_and_permissions');
COMMIT;
