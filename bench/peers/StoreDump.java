// Writes what one store of a stopped Kafka Streams application holds to stdout: for each entry the key's length, the key,
// the value's length and the value, lengths as four bytes, big-endian, in the order of the keys' bytes.

import java.io.BufferedOutputStream;
import java.io.DataOutputStream;
import java.util.ArrayList;
import org.rocksdb.ColumnFamilyDescriptor;
import org.rocksdb.ColumnFamilyHandle;
import org.rocksdb.DBOptions;
import org.rocksdb.Options;
import org.rocksdb.RocksDB;

public final class StoreDump {
    public static void main(String[] arguments) throws Exception {
        RocksDB.loadLibrary();
        var path = arguments[0];
        var families = new ArrayList<ColumnFamilyDescriptor>();
        for (byte[] name : RocksDB.listColumnFamilies(new Options(), path)) {
            families.add(new ColumnFamilyDescriptor(name));
        }
        var handles = new ArrayList<ColumnFamilyHandle>();
        try (var out = new DataOutputStream(new BufferedOutputStream(System.out, 1 << 20));
                var database = RocksDB.openReadOnly(new DBOptions(), path, families, handles)) {
            for (var handle : handles) {
                if (!new String(handle.getName()).equals("default")) {
                    continue;
                }
                try (var entries = database.newIterator(handle)) {
                    for (entries.seekToFirst(); entries.isValid(); entries.next()) {
                        out.writeInt(entries.key().length);
                        out.write(entries.key());
                        out.writeInt(entries.value().length);
                        out.write(entries.value());
                    }
                    entries.status();
                }
            }
        }
    }
}
