-- The extension is there, in the version its control file names.
SELECT extname, extversion FROM pg_extension WHERE extname = 'pg_writecache';
