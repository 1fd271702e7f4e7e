// Prints each status event once, until it is ended: java -cp 'lib/*' Consumer.java. Needs com.rabbitmq:amqp-client.
import com.rabbitmq.client.*;
import java.util.*;

class Consumer {
    public static void main(String[] arguments) throws Exception {
        ConnectionFactory factory = new ConnectionFactory(); // it connects again by itself
        factory.setUri(System.getenv("RABBITMQ_URL"));
        Channel channel = factory.newConnection().createChannel();
        channel.basicQos(50);
        channel.queueDeclare("shop.events", true, false, false, Map.of("x-queue-type", "quorum"));
        channel.queueBind("shop.events", "omni.results", "#");
        Set<String> seen = new HashSet<>(); // in a database: an event may be repeated for 48 hours
        channel.basicConsume("shop.events", false, (tag, message) -> {
            String id = message.getProperties().getMessageId(); // the id of the event; its body is JSON
            if (seen.add(id)) {
                System.out.println(id + " " + message.getProperties().getType());
            }
            channel.basicAck(message.getEnvelope().getDeliveryTag(), false); // after the work is done
        }, tag -> System.exit(1)); // the queue was deleted
    }
}
