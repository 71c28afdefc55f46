-- A shop. The column types are those that a cache gets wrong first: numbers above 2^53, decimals with trailing zeros,
-- jsonb, timestamps, bytes, and content so large that PostgreSQL leaves it out of an update's log record (TOAST).
CREATE TABLE customers (
    id bigint PRIMARY KEY,              -- from 2^53 + 1 on: no double holds them
    name text NOT NULL,
    points bigint NOT NULL DEFAULT 0,
    active boolean NOT NULL DEFAULT true,
    since date NOT NULL DEFAULT current_date
);
CREATE TABLE products (
    sku text PRIMARY KEY,               -- with ':' and '%', which mean something in cache keys
    title text NOT NULL,
    price numeric(10,2) NOT NULL,
    stock integer NOT NULL,
    attributes jsonb NOT NULL,
    description text NOT NULL,
    photo bytea
);
ALTER TABLE products ALTER description SET STORAGE EXTERNAL, ALTER photo SET STORAGE EXTERNAL;
CREATE TABLE orders (
    id bigserial PRIMARY KEY,
    customer_id bigint NOT NULL,
    status text NOT NULL DEFAULT 'placed',
    total numeric(12,2),
    placed_at timestamp NOT NULL DEFAULT clock_timestamp()
);
-- Lines change in one way only: their primary key moves. So each update counted here is two changes of the cache.
CREATE TABLE order_lines (
    order_id bigint REFERENCES orders ON DELETE CASCADE,
    line_no integer,
    sku text NOT NULL,
    quantity integer NOT NULL,
    PRIMARY KEY (order_id, line_no)
);
CREATE SEQUENCE customer_ids START 9007199254740993;

CREATE FUNCTION sku(n integer) RETURNS text IMMUTABLE LANGUAGE sql
    AS $$ SELECT 'sku:' || n || CASE n % 3 WHEN 0 THEN '' WHEN 1 THEN ':50%' ELSE ' – größe 🦀' END $$;
-- About `kilobytes` of text that does not compress.
CREATE FUNCTION prose(kilobytes integer) RETURNS text VOLATILE LANGUAGE sql
    AS $$ SELECT string_agg(md5(random()::text), ' ') FROM generate_series(1, kilobytes * 31) $$;

INSERT INTO customers (id, name) SELECT nextval('customer_ids'), 'Customer ' || n FROM generate_series(1, 4000) AS n;
INSERT INTO products
    SELECT sku(n), 'Product ' || n, round((random() * 500)::numeric, 2), 100,
           jsonb_build_object('colour', (ARRAY['red', 'grün', 'blue'])[n % 3 + 1], 'sizes', jsonb_build_array(n, n + 1.5)),
           prose(3), CASE WHEN n % 2 = 0 THEN convert_to(prose(3), 'UTF8') END
    FROM generate_series(1, 1000) AS n;
INSERT INTO orders (customer_id, total)
    SELECT 9007199254740993 + n % 4000, round((random() * 900)::numeric, 2) FROM generate_series(1, 4000) AS n;
INSERT INTO order_lines
    SELECT o.id, line, sku((random() * 999)::integer + 1), 1 FROM orders AS o, generate_series(1, 3) AS line;
