-- Run once, by the empty Postgres server: a role and its databases for each tenant of the server, nobody a superuser.
\getenv temporal_password TEMPORAL_DB_PASSWORD
\getenv moorage_password MOORAGE_DB_PASSWORD

CREATE ROLE temporal LOGIN PASSWORD :'temporal_password';
CREATE DATABASE temporal OWNER temporal;
CREATE DATABASE temporal_visibility OWNER temporal;

CREATE ROLE moorage LOGIN PASSWORD :'moorage_password';
CREATE DATABASE moorage OWNER moorage;

REVOKE CONNECT ON DATABASE temporal, temporal_visibility, moorage FROM PUBLIC;
