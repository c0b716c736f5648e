import java.sql.*;
import java.util.regex.*;

/** For each JDBC URL one line: rows | a long answer's sum | tables | columns | a parameter | the error of a table that is not there.
 *  As DBeaver and Metabase look around. Arguments: database, the reader's password, URLs. */
public class T {
    public static void main(String[] arguments) throws Exception {
        String database = arguments[0];
        for (int at = 2; at < arguments.length; at++) {
            try (Connection connection = DriverManager.getConnection(arguments[at], "reader", arguments[1])) {
                StringBuilder line = new StringBuilder();
                try (ResultSet rows = connection.createStatement().executeQuery("SELECT count(), sum(offset) FROM late")) {
                    rows.next();
                    line.append(rows.getLong(1)).append(' ').append(rows.getLong(2));
                }
                try (ResultSet rows = connection.createStatement().executeQuery("SELECT number FROM numbers(200000)")) {
                    long sum = 0;
                    while (rows.next()) sum += rows.getLong(1);
                    line.append('|').append(sum);
                }
                DatabaseMetaData about = connection.getMetaData();
                line.append('|').append(count(about.getTables(null, database, "late", null)));
                line.append('|').append(count(about.getColumns(null, database, "late", null)));
                try (PreparedStatement statement = connection.prepareStatement("SELECT ?")) {
                    statement.setString(1, "O'Brien");
                    ResultSet rows = statement.executeQuery();
                    rows.next();
                    line.append('|').append(rows.getString(1));
                }
                try {
                    connection.createStatement().executeQuery("SELECT * FROM nosuch");
                } catch (SQLException error) {
                    line.append('|').append(code(error));
                }
                System.out.println(line);
            }
        }
    }

    /** ClickHouse's code: of one exception in the chain, as the drivers of 0.9 give none themselves. */
    static String code(Throwable error) {
        for (Throwable one = error; one != null; one = one.getCause()) {
            Matcher found = Pattern.compile("Code: (\\d+)").matcher(String.valueOf(one.getMessage()));
            if (found.find()) return found.group(1);
        }
        return error.toString();
    }

    static int count(ResultSet rows) throws SQLException {
        int count = 0;
        while (rows.next()) count++;
        return count;
    }
}
