// The stored-values topology on Kafka Streams: the Processor API with plain key-value stores, as lean as ours. Tells on
// stdout how many changelog records each restore has read. Settings come from the environment.

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

public final class StoredValues {
    private static final class StoreValues implements Processor<byte[], byte[], byte[], Long> {
        private final List<String> names;
        private final List<KeyValueStore<byte[], byte[]>> stores = new ArrayList<>();
        private ProcessorContext<byte[], Long> context;

        StoreValues(List<String> names) {
            this.names = names;
        }

        @Override
        public void init(ProcessorContext<byte[], Long> context) {
            this.context = context;
            names.forEach(name -> stores.add(context.getStateStore(name)));
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            long count = 0;
            for (var store : stores) {
                byte[] before = store.get(record.key());
                count = (before == null ? 0 : ByteBuffer.wrap(before).getLong()) + 1;
                byte[] value = record.value();
                store.put(record.key(), ByteBuffer.allocate(Long.BYTES + value.length).putLong(count).put(value).array());
            }
            context.forward(record.withValue(count));
        }
    }

    private static final class Tell implements StateRestoreListener {
        @Override
        public void onRestoreStart(TopicPartition partition, String store, long start, long end) {}

        @Override
        public void onBatchRestored(TopicPartition partition, String store, long end, long count) {}

        @Override
        public void onRestoreEnd(TopicPartition partition, String store, long total) {
            System.out.println("restored " + partition + " records=" + total);
        }
    }

    private static Topology topology(Map<String, String> environment) {
        var bytes = Serdes.ByteArray();
        var topology = new Topology();
        topology.addSource("events", bytes.deserializer(), bytes.deserializer(), environment.get("PEER_EVENTS"));
        var names = new ArrayList<String>();
        for (int store = 0; store < Integer.parseInt(environment.get("PEER_STORES")); store++) {
            names.add("values-" + store);
        }
        topology.addProcessor("store-values", () -> new StoreValues(names), "events");
        for (var name : names) {
            var store = Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(name), bytes, bytes)
                .withCachingDisabled()
                .withLoggingEnabled(Map.of());
            topology.addStateStore(store, "store-values");
        }
        topology.addSink(
            "counts", environment.get("PEER_COUNTS"), bytes.serializer(), Serdes.Long().serializer(), "store-values");
        return topology;
    }

    private static Properties properties(Map<String, String> environment) {
        var properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, environment.get("PEER_APPLICATION"));
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, environment.get("PEER_SERVERS"));
        properties.put(StreamsConfig.STATE_DIR_CONFIG, environment.get("PEER_STATE"));
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
        properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        // All further settings, by their own names, are the benchmark's: it also writes them into its result.
        for (var line : environment.get("PEER_PROPERTIES").split("\n")) {
            var pair = line.split("=", 2);
            properties.put(pair[0], pair[1]);
        }
        return properties;
    }

    public static void main(String[] arguments) {
        var environment = System.getenv();
        var streams = new KafkaStreams(topology(environment), properties(environment));
        streams.setGlobalStateRestoreListener(new Tell());
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return StreamThreadExceptionResponse.SHUTDOWN_APPLICATION;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }
}
