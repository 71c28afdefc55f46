// The count topology on Kafka Streams, in its leanest form: the Processor API with a plain key-value store, because the
// DSL's count() keeps a timestamp with each value and forwards pairs of old and new. Settings come from the environment.

import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

public final class StatefulCount {
    private static final class Count implements Processor<byte[], byte[], byte[], Long> {
        private ProcessorContext<byte[], Long> context;
        private KeyValueStore<byte[], Long> counts;

        @Override
        public void init(ProcessorContext<byte[], Long> context) {
            this.context = context;
            this.counts = context.getStateStore("counts");
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            Long before = counts.get(record.key());
            long count = before == null ? 1 : before + 1;
            counts.put(record.key(), count);
            context.forward(record.withValue(count));
        }
    }

    private static Topology topology(String events, String counts) {
        var bytes = Serdes.ByteArray();
        var store = Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("counts"), bytes, Serdes.Long())
            .withCachingDisabled()
            .withLoggingEnabled(Map.of());
        var topology = new Topology();
        topology.addSource("events", bytes.deserializer(), bytes.deserializer(), events);
        topology.addProcessor("count", Count::new, "events");
        topology.addStateStore(store, "count");
        topology.addSink("counts", counts, bytes.serializer(), Serdes.Long().serializer(), "count");
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
        var topology = topology(environment.get("PEER_EVENTS"), environment.get("PEER_COUNTS"));
        var streams = new KafkaStreams(topology, properties(environment));
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return StreamThreadExceptionResponse.SHUTDOWN_APPLICATION;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }
}
