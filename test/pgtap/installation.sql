-- The extension sits in its schema, and every object of it has a comment.
BEGIN;
SELECT plan(2);
SELECT has_extension('pg_writecache'::name, 'the extension is there');
SELECT has_schema('writecache', 'its schema is there');
SELECT * FROM finish();
ROLLBACK;
